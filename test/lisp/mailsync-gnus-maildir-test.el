;;; mailsync-gnus-maildir-test.el --- Tests of how nnmaildir is helped  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A real nnmaildir.  What has arrived must be counted though cur/ is not
;; listed, and whatever else is in cur/ must be found sooner or later.

;;; Code:

(require 'mailsync-gnus-test-helper)

;;;; Helpers

(defvar mailsync-gnus-maildir-test--shown nil
  "How many names in cur/ nnmaildir was shown, latest list first.")

(defun mailsync-gnus-maildir-test--note (function scan directory arguments)
  "Call FUNCTION with SCAN, DIRECTORY and ARGUMENTS; note lists of cur/."
  (let ((files (funcall function scan directory arguments)))
    (when (string-match-p "/cur/\\'" directory)
      (push (length files) mailsync-gnus-maildir-test--shown))
    files))

(defmacro mailsync-gnus-maildir-test--with (&rest body)
  "Evaluate BODY where folder000 was checked after a first arrival.
`group' is its group, `before' what was unread in it then."
  (declare (indent 0))
  `(mailsync-gnus-test--with '(nnmaildir) '("folder000")
     (let ((group (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (mailsync-gnus-maildir-test--shown nil))
       (mailsync-gnus-test--deliver "folder000")
       (mailsync-gnus-maildir-test--arrived)
       (advice-add 'mailsync-gnus--list :around
                   #'mailsync-gnus-maildir-test--note)
       (unwind-protect
           (let ((before (fixture-unread group)))
             ,@body)
         (advice-remove 'mailsync-gnus--list
                        #'mailsync-gnus-maildir-test--note)))))

(defun mailsync-gnus-maildir-test--arrived ()
  "Have folder000 checked, into which messages have arrived."
  (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'new)))

(defun mailsync-gnus-maildir-test--put (&optional name)
  "Put a message called NAME into cur/ of folder000, as another program does."
  (write-region (format "Subject: put\nMessage-ID: <%s@put>\n\n" name) nil
                (mailsync-gnus-maildir-test--cur (or name "5000.put:2,"))
                nil 'silent))

(defun mailsync-gnus-maildir-test--cur (name)
  "The file NAME in cur/ of folder000."
  (expand-file-name (concat "cur/" name)
                    (mailsync-gnus-test--directory "folder000")))

(defun mailsync-gnus-maildir-test--put-unseen ()
  "Put a message into cur/ when it has just been looked at.
Call this before a check."
  (advice-add 'mailsync-gnus--modified :filter-return
              (lambda (time)
                (advice-remove 'mailsync-gnus--modified 'put)
                (mailsync-gnus-maildir-test--put)
                time)
              '((name . put))))

(defun mailsync-gnus-maildir-test--user-scans (group)
  "Have Gnus itself look for mail in GROUP."
  (let ((gnus-group-marked (list group)))
    (with-current-buffer gnus-group-buffer
      (gnus-group-get-new-news-this-group))))

(defun mailsync-gnus-maildir-test--unknown (server)
  "The messages in folder000 that nnmaildir, as SERVER, does not know."
  (cl-remove-if (lambda (file)
                  (nnmaildir-base-name-to-article-number
                   (mailsync-gnus--base-name (file-name-nondirectory file))
                   "folder000" server))
                (mailsync-gnus-test--files "folder000")))

(defun mailsync-gnus-maildir-test--look-in-full ()
  "Have what was put off looked at in full."
  (setq mailsync-gnus-catch-up-delay 0)
  (mailsync-gnus--arm)
  (mailsync-gnus-test--wait
   (= 0 (plist-get (mailsync-gnus-status) :catch-up))))

;;;; Tests

(ert-deftest mailsync-gnus-maildir-test-list ()
  "Of cur/ nnmaildir is shown what it has moved there, and no more."
  (mailsync-gnus-maildir-test--with
    (dotimes (i 3)
      (mailsync-gnus-test--deliver "folder000")
      (mailsync-gnus-maildir-test--arrived)
      (should (= (fixture-unread group) (+ before i 1))))
    (should (equal mailsync-gnus-maildir-test--shown '(1 1 1)))
    ;; What it has moved comes back as a change: there is nothing to do.
    (mailsync-gnus-test--check (mailsync-gnus-test--look "folder000"))
    (should (equal mailsync-gnus-maildir-test--shown '(1 1 1)))
    ;; Names that say more than they must.
    (dolist (name '("5000.a:2," "5001.b:2,S" "5002.c:2,FS"))
      (write-region (format "Message-ID: <%s@new>\n\n" name) nil
                    (expand-file-name
                     (concat "new/" name)
                     (mailsync-gnus-test--directory "folder000"))
                    nil 'silent))
    (mailsync-gnus-maildir-test--arrived)
    (should (equal mailsync-gnus-maildir-test--shown '(3 1 1 1)))
    (mailsync-gnus-maildir-test--look-in-full)
    (should (= (fixture-unread group) (+ before 4)))
    (should (= (car mailsync-gnus-maildir-test--shown) 17))))

(ert-deftest mailsync-gnus-maildir-test-tick ()
  "A message that leaves the time of new/ as it was is found in its check."
  (mailsync-gnus-maildir-test--with
    (let ((new (expand-file-name "new" (mailsync-gnus-test--directory "folder000")))
          time)
      (dolist (scan (list #'mailsync-gnus-maildir-test--arrived
                          (lambda () (mailsync-gnus-maildir-test--user-scans group))))
        (mailsync-gnus-test--deliver "folder000")
        (setq time (file-attribute-modification-time (file-attributes new)))
        (funcall scan)
        (should (= (fixture-unread group) (cl-incf before)))
        (mailsync-gnus-test--deliver "folder000")
        (set-file-times new time)
        (mailsync-gnus-maildir-test--arrived)
        (should (= (fixture-unread group) (cl-incf before)))))))

(ert-deftest mailsync-gnus-maildir-test-others ()
  "What others do in cur/ is noticed in the same check."
  (mailsync-gnus-maildir-test--with
    (mailsync-gnus-maildir-test--put)
    (mailsync-gnus-test--deliver "folder000")
    (mailsync-gnus-maildir-test--arrived)
    (should (= (fixture-unread group) (+ before 2)))
    (should (equal mailsync-gnus-maildir-test--shown '(13)))
    ;; Without anything in new/.
    (mailsync-gnus-maildir-test--put "5001.put:2,")
    (mailsync-gnus-maildir-test--arrived)
    (should (= (fixture-unread group) (+ before 3)))
    (should (equal mailsync-gnus-maildir-test--shown '(14 13)))
    ;; A message that another program has read meanwhile.
    (let ((new (mailsync-gnus-test--deliver "folder000")))
      (advice-add 'mailsync-gnus--list-arrived :before
                  (lambda (&rest _)
                    (advice-remove 'mailsync-gnus--list-arrived 'read)
                    (let ((cur (mailsync-gnus-maildir-test--cur
                                (file-name-nondirectory new))))
                      (rename-file (concat cur ":2,") (concat cur ":2,F"))))
                  '((name . read)))
      (mailsync-gnus-maildir-test--arrived))
    (should (= (fixture-unread group) (+ before 4)))
    (should (equal mailsync-gnus-maildir-test--shown '(15 14 13)))))

(ert-deftest mailsync-gnus-maildir-test-unseen ()
  "What arrives in cur/ in the moment of a check is found in the next full look."
  (mailsync-gnus-maildir-test--with
    (mailsync-gnus-test--deliver "folder000")
    (mailsync-gnus-maildir-test--put-unseen)
    (mailsync-gnus-maildir-test--arrived)
    (should (= (fixture-unread group) (1+ before)))
    (should (equal mailsync-gnus-maildir-test--shown '(1)))
    (mailsync-gnus-maildir-test--look-in-full)
    (should (= (fixture-unread group) (+ 2 before)))
    ;; That knows all there is.
    (setq mailsync-gnus-catch-up-delay 1000)
    (mailsync-gnus-test--deliver "folder000")
    (mailsync-gnus-maildir-test--arrived)
    (should (= (fixture-unread group) (+ 3 before)))
    (should (= (car mailsync-gnus-maildir-test--shown) 1))))

(ert-deftest mailsync-gnus-maildir-test-unseen-by-gnus ()
  "What arrives in cur/ in the moment of a check is found by Gnus itself."
  (mailsync-gnus-maildir-test--with
    (mailsync-gnus-test--deliver "folder000")
    (mailsync-gnus-maildir-test--put-unseen)
    (mailsync-gnus-maildir-test--arrived)
    (should (= (fixture-unread group) (1+ before)))
    (with-current-buffer gnus-group-buffer
      (gnus-group-get-new-news))
    (should (= (fixture-unread group) (+ 2 before)))))

(ert-deftest mailsync-gnus-maildir-test-forgotten ()
  "When nnmaildir has forgotten a group it is shown all of it."
  (mailsync-gnus-maildir-test--with
    (let ((method (gnus-find-method-for-group group)))
      (gnus-close-server method)
      (gnus-open-server method)
      (mailsync-gnus-test--deliver "folder000")
      (mailsync-gnus-maildir-test--arrived)
      (should (= (fixture-unread group) (1+ before)))
      (should (equal mailsync-gnus-maildir-test--shown '(12)))
      ;; Gnus's own look in between.
      (with-current-buffer gnus-group-buffer
        (mailsync-gnus-test--deliver "folder000")
        (gnus-group-get-new-news))
      (should (= (fixture-unread group) (+ 2 before)))
      (mailsync-gnus-test--deliver "folder000")
      (mailsync-gnus-maildir-test--arrived)
      (should (= (fixture-unread group) (+ 3 before))))))

(ert-deftest mailsync-gnus-maildir-test-user-scans ()
  "What the user's own look has shown nnmaildir it is not shown once more."
  (mailsync-gnus-maildir-test--with
    (let ((get (lambda (command)
                 (mailsync-gnus-test--deliver "folder000")
                 (let ((gnus-group-marked (list group)))
                   (with-current-buffer gnus-group-buffer (funcall command)))))
          (count before))
      (dolist (command '(gnus-group-get-new-news gnus-group-get-new-news-this-group))
        (setq mailsync-gnus-maildir-test--shown nil)
        (mailsync-gnus-maildir-test--put (format "%d.put:2," (+ 5000 count)))
        (funcall get command)
        (should (= (fixture-unread group) (cl-incf count 2)))
        (mailsync-gnus-test--deliver "folder000")
        (mailsync-gnus-maildir-test--arrived)
        (should (= (fixture-unread group) (cl-incf count)))
        (should (equal mailsync-gnus-maildir-test--shown '(1)))
        ;; With nothing in new/ there is nothing to be shown.
        (funcall get command)
        (should (= (fixture-unread group) (cl-incf count)))
        (mailsync-gnus-maildir-test--arrived)
        (should (= (fixture-unread group) count))
        (should (equal mailsync-gnus-maildir-test--shown '(1)))
        ;; But what came after that look is.
        (funcall get command)
        (should (= (fixture-unread group) (cl-incf count)))
        (mailsync-gnus-maildir-test--put (format "%d.put:2," (+ 6000 count)))
        (mailsync-gnus-test--deliver "folder000")
        (mailsync-gnus-maildir-test--arrived)
        (should (= (fixture-unread group) (cl-incf count 2)))
        (should (< 10 (car mailsync-gnus-maildir-test--shown)))))))

(ert-deftest mailsync-gnus-maildir-test-user-scans-unseen ()
  "What arrives in cur/ in the moment of the user's look is not lost."
  (mailsync-gnus-maildir-test--with
    (let ((put (lambda (function directory match &rest args)
                 (prog1 (apply function directory match args)
                   (when (string-suffix-p "/cur/" directory)
                     (advice-remove 'directory-files 'put)
                     (let ((time (file-attribute-modification-time
                                  (file-attributes (directory-file-name directory)))))
                       (mailsync-gnus-maildir-test--put)
                       ;; As coarse as some file systems' times are.
                       (set-file-times (directory-file-name directory) time)))))))
      (mailsync-gnus-test--deliver "folder000")
      (advice-add 'directory-files :around put '((name . put)))
      (unwind-protect
          (with-current-buffer gnus-group-buffer (gnus-group-get-new-news))
        (advice-remove 'directory-files 'put))
      (should (= (fixture-unread group) (1+ before)))
      (mailsync-gnus-test--deliver "folder000")
      (mailsync-gnus-maildir-test--arrived)
      (should (= (fixture-unread group) (+ 2 before)))
      (should (equal mailsync-gnus-maildir-test--shown '(1)))
      (mailsync-gnus-maildir-test--look-in-full)
      (should (= (fixture-unread group) (+ 3 before))))))

(ert-deftest mailsync-gnus-maildir-test-user-scans-fail ()
  "Nothing is known of what a look of the user's that failed has shown."
  (mailsync-gnus-maildir-test--with
    (mailsync-gnus-maildir-test--put)
    (advice-add 'directory-files :before
                (lambda (directory &rest _)
                  (when (string-suffix-p "/cur/" directory)
                    (advice-remove 'directory-files 'fail)
                    (signal 'quit nil)))
                '((name . fail)))
    (unwind-protect
        (condition-case nil
            (with-current-buffer gnus-group-buffer (gnus-group-get-new-news))
          (quit nil))
      (should-not (advice-member-p 'fail 'directory-files))
      (advice-remove 'directory-files 'fail))
    (mailsync-gnus-test--deliver "folder000")
    (mailsync-gnus-maildir-test--arrived)
    (should (= (fixture-unread group) (+ 2 before)))
    (should (equal mailsync-gnus-maildir-test--shown '(13)))))

(ert-deftest mailsync-gnus-maildir-test-user-scans-reopened ()
  "A look of the user's that was quit shows a part of a group that was forgotten."
  (mailsync-gnus-maildir-test--with
    (let ((method (gnus-find-method-for-group group))
          (messages (length (mailsync-gnus-test--files "folder000")))
          (taken 0))
      (mailsync-gnus-maildir-test--user-scans group)
      (gnus-close-server method)
      (gnus-open-server method)
      (advice-add 'nnmaildir--grp-add-art :before
                  (lambda (&rest _)
                    (when (= messages (cl-incf taken))
                      (signal 'quit nil)))
                  '((name . quit)))
      (unwind-protect
          (condition-case nil
              (mailsync-gnus-maildir-test--user-scans group)
            (quit nil))
        (advice-remove 'nnmaildir--grp-add-art 'quit))
      (should (= taken messages))
      ;; Any message may vouch for what we know: let it be one of these.
      (setf (mailsync-gnus--cur-witness (gethash group mailsync-gnus--known))
            (mailsync-gnus--base-name
             (file-name-nondirectory
              (car (cl-set-difference
                    (mailsync-gnus-test--files "folder000")
                    (mailsync-gnus-maildir-test--unknown (nth 1 method))
                    :test #'equal)))))
      (mailsync-gnus-test--deliver "folder000")
      (mailsync-gnus-maildir-test--arrived)
      (should (= (fixture-unread group) (1+ before)))
      (should-not (mailsync-gnus-maildir-test--unknown (nth 1 method))))))

(ert-deftest mailsync-gnus-maildir-test-user-scans-other-server ()
  "What the user's look has shown one server another one does not know."
  (mailsync-gnus-maildir-test--with
    (let* ((method (gnus-find-method-for-group group))
           (server (concat (nth 1 method) "-other"))
           (other (cl-list* 'nnmaildir server (cddr method)))
           (its-group (format "nnmaildir+%s:folder000" server)))
      (gnus-open-server other)
      (gnus-subscribe-group its-group nil other)
      (mailsync-gnus-maildir-test--user-scans its-group)
      (mailsync-gnus-test--deliver "folder000")
      (mailsync-gnus-maildir-test--arrived)
      (should (= (fixture-unread its-group) (1+ before)))
      (mailsync-gnus-test--deliver "folder000")
      (mailsync-gnus-maildir-test--user-scans group)
      (mailsync-gnus-test--deliver "folder000")
      (should (eq 'checked (nth 1 (mailsync-gnus--check-group its-group '(new)))))
      (should (= (fixture-unread its-group) (+ 3 before)))
      (should-not (mailsync-gnus-maildir-test--unknown server)))))

(ert-deftest mailsync-gnus-maildir-test-interrupted ()
  "After a check that failed, nnmaildir is shown all there is."
  (mailsync-gnus-maildir-test--with
    (mailsync-gnus-test--deliver "folder000")
    (advice-add 'mailsync-gnus--list-arrived :before
                (lambda (&rest _)
                  (advice-remove 'mailsync-gnus--list-arrived 'fail)
                  (error "No"))
                '((name . fail)))
    (mailsync-gnus-maildir-test--arrived)
    (should (= (fixture-unread group) before))
    (mailsync-gnus-maildir-test--arrived)
    (should (= (fixture-unread group) (1+ before)))
    (should (equal mailsync-gnus-maildir-test--shown '(12)))))

(defun mailsync-gnus-maildir-test--renamed-meanwhile (group)
  "Have GROUP checked while a new message gets another name, and again."
  (mailsync-gnus-test--deliver "folder000")
  (advice-add 'nnmaildir--update-nov :before
              (lambda (_server _group article)
                (unless (nnmaildir--art-num article)
                  (advice-remove 'nnmaildir--update-nov 'rename)
                  (let ((name (mailsync-gnus-maildir-test--cur
                               (concat (nnmaildir--art-prefix article)
                                       (nnmaildir--art-suffix article)))))
                    (rename-file name (concat name "F")))))
              '((name . rename)))
  (mailsync-gnus-maildir-test--arrived)
  (should-not (advice-member-p 'rename 'nnmaildir--update-nov))
  (should (equal (caar (mailsync-gnus-test--check
                        (mailsync-gnus-test--change "folder000" 'flags)))
                 '("folder000" . checked)))
  (should (= (fixture-unread group)
             (length (mailsync-gnus-test--unseen "folder000")))))

(ert-deftest mailsync-gnus-maildir-test-renamed-meanwhile ()
  "A message that gets another name while nnmaildir takes it in costs no other."
  (mailsync-gnus-maildir-test--with
    (mailsync-gnus-maildir-test--renamed-meanwhile group)
    ;; Where there is one other message only.
    (mapc #'delete-file (cdr (mailsync-gnus-test--unseen "folder000")))
    (dolist (file (mailsync-gnus-test--files "folder000"))
      (unless (member file (mailsync-gnus-test--unseen "folder000"))
        (delete-file file)))
    (gnus-close-server (gnus-find-method-for-group group))
    (gnus-open-server (gnus-find-method-for-group group))
    (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'flags))
    (should (= (fixture-unread group) 1))
    (mailsync-gnus-maildir-test--renamed-meanwhile group)))

(ert-deftest mailsync-gnus-maildir-test-future ()
  "A message that is dated in the future waits, and the others do not."
  (mailsync-gnus-maildir-test--with
    (let ((file (mailsync-gnus-test--deliver "folder000")))
      (mailsync-gnus-test--deliver "folder000")
      (set-file-times file (time-add nil 1000))
      (mailsync-gnus-maildir-test--arrived)
      (should (= (fixture-unread group) (1+ before)))
      (should (equal mailsync-gnus-maildir-test--shown '(1)))
      (set-file-times file)
      (mailsync-gnus-test--deliver "folder000")
      (mailsync-gnus-maildir-test--arrived)
      (should (= (fixture-unread group) (+ 3 before)))
      (should (equal mailsync-gnus-maildir-test--shown '(2 1))))))

(ert-deftest mailsync-gnus-maildir-test-ahead ()
  "While the user types a long list is looked through in pieces."
  (mailsync-gnus-maildir-test--with
    (let ((mailsync-gnus--hurry t)
          (mailsync-gnus--long 5)
          (mailsync-gnus--piece 0)
          (check (lambda ()
                   (let ((results nil))
                     (while (eq 'partial
                                (car (push (nth 1 (mailsync-gnus--check-group
                                                   group '(new)))
                                           results))))
                     results))))
      ;; Nothing but what nnmaildir moves: no list.
      (mailsync-gnus-test--deliver "folder000")
      (should (equal (funcall check) '(checked)))
      (should (= (fixture-unread group) (+ before 1)))
      ;; Something else, and something in new/.
      (dotimes (i 110)
        (mailsync-gnus-maildir-test--put (format "%d.put:2," (+ 5000 i))))
      (mailsync-gnus-test--deliver "folder000")
      (should (equal (funcall check) '(checked partial partial)))
      (should (= (fixture-unread group) (+ before 112)))
      (should (equal mailsync-gnus-maildir-test--shown '(111 1)))
      ;; Nothing in new/.
      (mailsync-gnus-maildir-test--put "6000.put:2,")
      (should (equal (funcall check) '(checked partial partial)))
      (should (= (fixture-unread group) (+ before 113)))
      ;; A flag, and nothing new at all.
      (mailsync-gnus-test--mark-seen
       (mailsync-gnus-maildir-test--cur "6000.put:2,"))
      (should (equal (funcall check) '(checked partial partial)))
      (should (= (fixture-unread group) (+ before 113)))
      (should (equal mailsync-gnus-maildir-test--shown '(0 1 111 1)))
      ;; It changes again and again.
      (let ((i 7000))
        (cl-letf* ((original (symbol-function 'mailsync-gnus--look-at-piece))
                   ((symbol-function 'mailsync-gnus--look-at-piece)
                    (lambda (&rest args)
                      (mailsync-gnus-maildir-test--put
                       (format "%d.put:2," (cl-incf i)))
                      (apply original args) t)))
          (mailsync-gnus-maildir-test--put "7000.put:2,")
          (should (equal (car (funcall check)) 'checked)))
        (should (= (fixture-unread group) (+ before 113 (- i 6999)))))
      (should (zerop (hash-table-count mailsync-gnus--ahead))))))

(ert-deftest mailsync-gnus-maildir-test-between ()
  "A message that comes read between the scan and the look at the flags is read."
  (mailsync-gnus-maildir-test--with
    (advice-add 'mailsync-gnus--look-at-flags :before
                (lambda (&rest _)
                  (advice-remove 'mailsync-gnus--look-at-flags 'put)
                  (mailsync-gnus-maildir-test--put "6000.between:2,S"))
                '((name . put)))
    (mailsync-gnus-maildir-test--look-in-full)
    (should-not (advice-member-p 'put 'mailsync-gnus--look-at-flags))
    (should (= before (fixture-unread group)))
    ;; It is counted first, and its flags are looked at later.
    (mailsync-gnus-maildir-test--arrived)
    (mailsync-gnus-maildir-test--look-in-full)
    (should (= before (fixture-unread group)))))

(ert-deftest mailsync-gnus-maildir-test-between-by-gnus ()
  "A message that comes read is read, though Gnus looks before anybody scans.
So it does when an article is moved into the group."
  (mailsync-gnus-maildir-test--with
    (mailsync-gnus-maildir-test--look-in-full)
    (mailsync-gnus-maildir-test--put "6000.between:2,S")
    (let ((gnus-group-marked (list group)))
      (with-current-buffer gnus-group-buffer
        (gnus-group-get-new-news-this-group nil t)))
    (should (= before (fixture-unread group)))
    (mailsync-gnus-maildir-test--arrived)
    (mailsync-gnus-maildir-test--look-in-full)
    (should (= before (fixture-unread group)))))

(ert-deftest mailsync-gnus-maildir-test-flags ()
  "All flags are found in one list of cur/, just as nnmaildir finds them."
  (mailsync-gnus-maildir-test--with
    (let* ((info (gnus-get-info group))
           (lists 0)
           (puts 0)
           (look (lambda ()
                   ;; So that cur/ has been modified.
                   (mailsync-gnus-maildir-test--put
                    (format "%d.now:2,S" (+ 6000 (cl-incf puts))))
                   (setq lists 0)
                   (cl-letf* ((original (symbol-function 'directory-files))
                              ((symbol-function 'directory-files)
                               (lambda (directory &rest args)
                                 ;; A handler calls it once more.
                                 (when (and (string-search ":2," (or (nth 1 args) ""))
                                            (not (find-file-name-handler
                                                  directory 'directory-files)))
                                   (cl-incf lists))
                                 (apply original directory args))))
                     (mailsync-gnus--check-group group '(flags)))
                   (list (cons 'read (gnus-info-read info))
                         (sort (copy-tree (gnus-info-marks info))
                               (lambda (a b) (string< (car a) (car b)))))))
           helped)
      (cl-loop for flags in '("" "F" "S" "FS" "DPRS" "Sab" "aS" "SS" "T")
               for i from 5000
               do (mailsync-gnus-maildir-test--put (format "%d.x:2,%s" i flags)))
      (setq helped (funcall look))
      (should (= lists 1))
      (should (assq 'tick (nth 1 helped)))
      ;; One more message that is read, which `look' puts there.
      (cl-letf (((symbol-function 'mailsync-gnus--helped-p) #'ignore))
        (let ((plain (funcall look)))
          (should (= lists 4))
          (should (equal (nth 1 helped) (nth 1 plain)))))
      (let ((again (funcall look)))
        (should (equal (nth 1 helped) (nth 1 again)))))))

(provide 'mailsync-gnus-maildir-test)
;;; mailsync-gnus-maildir-test.el ends here
