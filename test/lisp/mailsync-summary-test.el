;;; mailsync-summary-test.el --- Tests of an open Summary  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A Summary is open while things happen to its group: what it shows then,
;; and what is on the disk when it was left.

;;; Code:

(require 'mailsync-gnus-test-helper)
(require 'gnus-art)

(defvar mailsync-summary-test--number 0)

(defun mailsync-summary-test--setup-nnml (dir)
  "Make Gnus know the group of an nnml server below DIR; return its name."
  (let ((group (format "nnml+%s:ml" mailsync-gnus-test--name)))
    (push `(nnml ,mailsync-gnus-test--name
                 (nnml-directory ,(expand-file-name "nnml/" dir))
                 (nnml-active-file ,(expand-file-name "nnml/active" dir))
                 (nnml-get-new-mail nil))
          gnus-secondary-select-methods)
    (gnus-group-make-group "ml" `(nnml ,mailsync-gnus-test--name
                 (nnml-directory ,(expand-file-name "nnml/" dir))
                 (nnml-active-file ,(expand-file-name "nnml/active" dir))
                 (nnml-get-new-mail nil)))
    group))

(defun mailsync-summary-test--message (subject &optional parent)
  "A message with SUBJECT, which is its ID too; PARENT is what it replies to."
  (format "From: %s <a@example.org>\nDate: Mon, 01 Jan 2024 00:%02d:00 +0000\n\
Subject: %s\nMessage-ID: <%s@test>\n%s\nText of %s\n"
          subject (cl-incf mailsync-summary-test--number) subject subject
          (if parent (format "References: <%s@test>\n" parent) "")
          subject))

(defun mailsync-summary-test--put (group subject &optional parent)
  "Deliver a message with SUBJECT that replies to PARENT to GROUP."
  (let ((text (mailsync-summary-test--message subject parent)))
    (if (string-prefix-p "nnml" group)
        (with-temp-buffer
          (insert text)
          (gnus-request-accept-article group nil t t))
      (let* ((directory (mailsync-gnus-test--directory "folder000"))
             (name (format "%d.%s" (+ 1700000000 mailsync-summary-test--number)
                           subject))
             (file (expand-file-name (concat "tmp/" name) directory)))
        (write-region text nil file nil 'silent)
        (when (= 0 (user-uid))          ; as deliver.sh does
          (call-process "chown" nil nil nil
                        (format "--reference=%s" directory) file))
        (rename-file file (expand-file-name (concat "new/" name) directory))))))

(defun mailsync-summary-test--arrive (group subject &optional parent)
  "Deliver SUBJECT, which replies to PARENT, to GROUP, and have it checked."
  (mailsync-summary-test--put group subject parent)
  (mailsync-summary-test--look group 'new))

(defun mailsync-summary-test--look (group &rest kinds)
  "Have GROUP checked for KINDS, and what follows in its Summary done."
  (if (string-prefix-p "nnml" group)
      (progn (mailsync-gnus-check group))
    (apply #'mailsync-gnus-test--check
           (list (apply #'mailsync-gnus-test--change "folder000" kinds))))
  (mailsync-gnus-test--wait (and (null mailsync-gnus--summaries)
                                 (null mailsync-gnus--summary-asked)
                                 (null mailsync-gnus--summary-timer))))

(defun mailsync-summary-test--lines ()
  "The lines of this Summary that are to be seen: INDENTATION and subject."
  (save-excursion
    (goto-char (point-min))
    (let ((lines nil))
      (while (not (eobp))
        (unless (invisible-p (point))
          (push (string-trim-right
                 (buffer-substring-no-properties (point) (line-end-position)))
                lines))
        (forward-line 1))
      (nreverse lines))))

(defun mailsync-summary-test--here ()
  "The line at point up to point, and the rest."
  (cons (buffer-substring-no-properties (line-beginning-position) (point))
        (buffer-substring-no-properties (point) (line-end-position))))

(defun mailsync-summary-test--goto (subject)
  "Go to the article with SUBJECT, somewhere within its line."
  (goto-char (point-min))
  (re-search-forward (concat "[^a-z]" subject "$"))
  (backward-char 1))

(defun mailsync-summary-test--call (backend function)
  "Call FUNCTION with a group of BACKEND, in its Summary.
The group has the threads a with b and c, d, and e with f."
  (mailsync-gnus-test--call
   (lambda ()
     (let* ((mailsync-summary-test--number 0)
            (mailsync-gnus-update-summary 'insert)
            (gnus-summary-line-format "%U%B%s\n")
            (gnus-sum-thread-tree-root "") (gnus-sum-thread-tree-single-indent "")
            (gnus-sum-thread-tree-false-root "")
            (gnus-sum-thread-tree-indent " ")
            (gnus-sum-thread-tree-leaf-with-other "+")
            (gnus-sum-thread-tree-single-leaf "+")
            (gnus-sum-thread-tree-vertical " ")
            (gnus-auto-select-first nil)
            (gnus-auto-select-next nil)
            (gnus-thread-hide-subtree nil)
            (gnus-summary-line-format-spec nil)
            (gnus-thread-sort-functions '(gnus-thread-sort-by-number))
            (gnus-article-sort-functions '(gnus-article-sort-by-number))
            (gnus-use-cache nil)
            (group (if (eq backend 'nnml)
                       (mailsync-summary-test--setup-nnml mailsync-gnus-test--dir)
                     (mailsync-gnus-test--group backend "folder000"))))
       (mapc #'delete-file (and (not (eq backend 'nnml))
                                (mailsync-gnus-test--files "folder000")))
       (pcase-dolist (`(,subject ,parent)
                      '(("a") ("b" "a") ("c" "a") ("d") ("e") ("f" "e")))
         (mailsync-summary-test--put group subject parent))
       (if (eq backend 'nnml)
           (mailsync-gnus-check group)
         (mailsync-gnus-test--check
          (mailsync-gnus-test--change "folder000" 'unknown)))
       (should (= 6 (fixture-unread group)))
       (switch-to-buffer gnus-group-buffer)
       (gnus-group-list-groups 5 t)
       (gnus-group-goto-group group)
       (gnus-group-read-group t t)
       (unwind-protect
           (progn
             (should (eq major-mode 'gnus-summary-mode))
             (should (equal (mailsync-summary-test--lines)
                            '(" a" " +b" " +c" " d" " e" " +f")))
             (funcall function group))
         (when (and (gnus-alive-p)
                    (mailsync-gnus--summary-buffer group))
           (with-current-buffer (mailsync-gnus--summary-buffer group)
             (let ((mailsync-gnus-update-summary nil))
               (gnus-summary-exit)))))))
   (make-temp-file "mailsync-summary" t)
   (and (not (eq backend 'nnml)) (list backend))
   '("folder000")))

(defmacro mailsync-summary-test--each (&rest body)
  "Evaluate BODY in a Summary of GROUP, for each back end."
  `(dolist (backend '(nnmaildir nnml nnimap))
     (ert-info ((symbol-name backend) :prefix "back end: ")
       (mailsync-summary-test--call
        backend (lambda (group) (ignore group) ,@body)))))

(ert-deftest mailsync-summary-test-delivery ()
  "A message is inserted at its place, a reply in its thread; point stays."
  (mailsync-summary-test--each
   (mailsync-summary-test--goto "d")
   (let ((here (mailsync-summary-test--here)))
     (mailsync-summary-test--arrive group "new")
     (should (equal (mailsync-summary-test--lines)
                    '(" a" " +b" " +c" " d" " e" " +f" " new")))
     (should (equal here (mailsync-summary-test--here)))
     (mailsync-summary-test--arrive group "reply" "a")
     (should (equal (mailsync-summary-test--lines)
                    '(" a" " +b" " +c" " +reply" " d" " e" " +f" " new")))
     (should (equal here (mailsync-summary-test--here)))
     (should (= 8 (fixture-unread group)))
     (gnus-summary-exit)
     (should (= 8 (fixture-unread group))))))

(ert-deftest mailsync-summary-test-untouched ()
  "By default an open Summary is left alone."
  (mailsync-summary-test--each
   (let ((mailsync-gnus-update-summary nil)
         (before (buffer-string)))
     (mailsync-summary-test--arrive group "new")
     (should (= 7 (fixture-unread group)))
     (should (equal before (buffer-string)))
     (should-not mailsync-gnus--summary-told))))

(ert-deftest mailsync-summary-test-message ()
  "The mode line says how many have come, until they are inserted."
  (mailsync-summary-test--each
   (let ((mailsync-gnus-update-summary 'message)
         (before (buffer-string))
         (echoed nil))
     (advice-add 'mailsync-gnus--summary-echo :before
                 (lambda (text) (push text echoed)) '((name . echoed)))
     (unwind-protect
         (progn
           (mailsync-summary-test--arrive group "new")
           (should (equal (mailsync-gnus--summary-mode-line) " [1 new article]"))
           (mailsync-summary-test--look group 'flags)
           (should (equal echoed
                          '("1 new article in this group; / N inserts it")))
           (mailsync-summary-test--arrive group "reply" "a")
           (should (equal (mailsync-gnus--summary-mode-line) " [2 new articles]"))
           (should (= 2 (length echoed)))
           (should (equal before (buffer-string)))
           (gnus-summary-insert-new-articles)
           (should (equal (mailsync-gnus--summary-mode-line) ""))
           (should (member " +reply" (mailsync-summary-test--lines))))
       (advice-remove 'mailsync-gnus--summary-echo 'echoed)))))

(ert-deftest mailsync-summary-test-limited ()
  "A Summary that is limited stays so; without the limit all is there."
  (mailsync-summary-test--each
   (gnus-summary-limit-to-subject "^d$")
   (should (equal (mailsync-summary-test--lines) '(" d")))
   (mailsync-summary-test--arrive group "new")
   (mailsync-summary-test--arrive group "reply" "a")
   (should (equal (mailsync-summary-test--lines) '(" d")))
   (should (= 8 (fixture-unread group)))
   (gnus-summary-pop-limit)
   (should (equal (mailsync-summary-test--lines)
                  '(" a" " +b" " +c" " +reply" " d" " e" " +f" " new")))
   (gnus-summary-limit-to-subject "^new$")
   (gnus-summary-mark-article nil gnus-read-mark)
   (gnus-summary-exit)
   (should (= 7 (fixture-unread group)))))

(ert-deftest mailsync-summary-test-article ()
  "The article that is shown, its window and the region stay."
  (mailsync-summary-test--each
   (mailsync-summary-test--goto "b")
   (gnus-summary-select-article)
   (let* ((article gnus-current-article)
          (window (get-buffer-window gnus-article-buffer))
          (text (with-current-buffer gnus-article-buffer (buffer-string))))
     (should window)
     (set-mark (save-excursion (mailsync-summary-test--goto "f") (point)))
     (let ((mark (save-excursion (goto-char (mark t))
                                 (mailsync-summary-test--here)))
           (here (mailsync-summary-test--here))
           (selected (selected-window)))
       (mailsync-summary-test--arrive group "reply" "a")
       (should (member " +reply" (mailsync-summary-test--lines)))
       (should (eq selected (selected-window)))
       (should (equal mark (save-excursion (goto-char (mark t))
                                           (mailsync-summary-test--here))))
       (should mark-active)
       (should (equal here (mailsync-summary-test--here)))
       (should (eq article gnus-current-article))
       (should (eq window (get-buffer-window gnus-article-buffer)))
       (should (equal text (with-current-buffer gnus-article-buffer
                             (buffer-string))))
       (should (equal (string-trim-right (buffer-substring-no-properties
                       (save-excursion
                         (goto-char (overlay-start gnus-newsgroup-selected-overlay))
                         (line-beginning-position))
                       (overlay-end gnus-newsgroup-selected-overlay)))
                      "R+b"))))))

(ert-deftest mailsync-summary-test-windows ()
  "In each window the same lines are to be seen."
  (mailsync-summary-test--each
   (delete-other-windows)
   (let* ((other (split-window))
          (see (lambda (window)
                 (list (save-excursion
                         (goto-char (window-start window))
                         (mailsync-summary-test--here))
                       (save-excursion
                         (goto-char (window-point window))
                         (mailsync-summary-test--here))))))
     (mailsync-summary-test--goto "e")
     (set-window-point nil (point))
     (set-window-point other (save-excursion (mailsync-summary-test--goto "d")
                                             (point)))
     (set-window-start other (save-excursion (mailsync-summary-test--goto "c")
                                             (line-beginning-position)))
     (let ((here (funcall see nil))
           (there (funcall see other)))
       (mailsync-summary-test--arrive group "reply" "a")
       (mailsync-summary-test--arrive group "again" "b")
       (should (equal (mailsync-summary-test--lines)
                      '(" a" " +b" "  +again" " +c" " +reply"
                        " d" " e" " +f")))
       (should (equal here (funcall see nil)))
       (should (equal there (funcall see other))))
     (delete-other-windows))))

(ert-deftest mailsync-summary-test-hidden ()
  "What is hidden stays hidden, what is shown stays shown."
  (mailsync-summary-test--each
   (gnus-summary-hide-all-threads)
   (mailsync-summary-test--goto "e")
   (gnus-summary-show-thread)
   (should (equal (mailsync-summary-test--lines) '(" a" " d" " e" " +f")))
   (mailsync-summary-test--arrive group "reply" "a")
   (mailsync-summary-test--arrive group "other" "e")
   (should (equal (mailsync-summary-test--lines)
                  '(" a" " d" " e" " +f" " +other")))
   (gnus-summary-show-all-threads)
   (should (equal (mailsync-summary-test--lines)
                  '(" a" " +b" " +c" " +reply" " d" " e" " +f" " +other")))))

(ert-deftest mailsync-summary-test-sorted ()
  "The order stays, that of Gnus and that of the user's hand."
  (mailsync-summary-test--each
   (let ((gnus-thread-sort-functions '((not gnus-thread-sort-by-number))))
     (gnus-summary-prepare)
     (mailsync-summary-test--goto "d")
     (let ((here (mailsync-summary-test--here)))
       (mailsync-summary-test--arrive group "new")
       (should (equal (mailsync-summary-test--lines)
                      '(" new" " e" " +f" " d" " a" " +c" " +b")))
       (should (equal here (mailsync-summary-test--here)))))
   ;; Once.
   (let ((before (mailsync-summary-test--lines))
         (here (mailsync-summary-test--here)))
     (mailsync-summary-test--arrive group "last")
     (should (equal before (mailsync-summary-test--lines)))
     (should (equal here (mailsync-summary-test--here)))
     (should (equal (mailsync-gnus--summary-mode-line) " [1 new article]"))
     ;; And everything still works.
     (mailsync-summary-test--goto "b")
     (gnus-summary-mark-article nil gnus-read-mark)
     (should (member "R+b" (mailsync-summary-test--lines)))
     (gnus-summary-exit)
     (should (= 7 (fixture-unread group))))))

(ert-deftest mailsync-summary-test-marks ()
  "Marks that are not saved yet are kept, and saved when the user leaves."
  (mailsync-summary-test--each
   (mailsync-summary-test--goto "d")
   (gnus-summary-mark-article nil gnus-read-mark)
   (mailsync-summary-test--goto "b")
   (gnus-summary-mark-article nil gnus-ticked-mark)
   (mailsync-summary-test--goto "e")
   (gnus-summary-mark-as-processable 1)
   (let ((lines (mailsync-summary-test--lines))
         (processable gnus-newsgroup-processable))
     (mailsync-summary-test--arrive group "reply" "d")
     (should (equal (remove " +reply" (mailsync-summary-test--lines)) lines))
     (should (equal processable gnus-newsgroup-processable))
     (mailsync-summary-test--goto "reply")
     (gnus-summary-mark-article nil gnus-read-mark)
     (mailsync-summary-test--arrive group "last")
     (should (member "R+reply" (mailsync-summary-test--lines))))
   (gnus-summary-exit)
   (unless (eq backend 'nnml)
     (should (= 2 (- (length (mailsync-gnus-test--files "folder000"))
                     (length (mailsync-gnus-test--unseen "folder000"))
                     (length (cl-remove-if-not
                              (lambda (file) (string-match-p ":2,FS" file))
                              (mailsync-gnus-test--files "folder000"))))))
     (should (= 1 (cl-count-if (lambda (file) (string-match-p ":2,F" file))
                               (mailsync-gnus-test--files "folder000"))))
     (mailsync-gnus-test--check
      (mailsync-gnus-test--change "folder000" 'unknown)))
   ;; b is ticked, d and reply are read.
   (should (= 5 (fixture-unread group)))))

(ert-deftest mailsync-summary-test-flagged ()
  "A message that arrives with a flag is inserted with it, and keeps it."
  (dolist (backend '(nnmaildir))
    (mailsync-summary-test--call
     backend
     (lambda (group)
       (let* ((directory (mailsync-gnus-test--directory "folder000"))
              (file (expand-file-name "cur/1800000000.flagged:2,F" directory)))
         (write-region (mailsync-summary-test--message "flagged") nil file
                       nil 'silent)
         (mailsync-summary-test--look group 'unknown)
         (should (member "!flagged" (mailsync-summary-test--lines)))
         (gnus-summary-exit)
         (should (file-expand-wildcards
                  (expand-file-name "cur/1800000000.flagged:2,F*" directory)
                  t)))))))

(ert-deftest mailsync-summary-test-deleted-elsewhere ()
  "What another program deletes stays to be seen, as read; what comes is inserted."
  (dolist (backend '(nnmaildir nnimap))
    (mailsync-summary-test--call
     backend
     (lambda (group)
       (delete-file (cl-find-if (lambda (file) (string-match-p "\\.d\\>" file))
                                (mailsync-gnus-test--files "folder000")))
       (mailsync-summary-test--look group 'gone)
       (mailsync-summary-test--arrive group "reply" "a")
       (should (equal (mailsync-summary-test--lines)
                      '(" a" " +b" " +c" " +reply" "Rd" " e" " +f")))
       (gnus-summary-exit)
       (mailsync-gnus-test--check
        (mailsync-gnus-test--change "folder000" 'unknown))
       (should (= (fixture-unread group)
                  (length (mailsync-gnus-test--unseen "folder000"))))))))

(defun mailsync-summary-test--seen ()
  "The subjects of the messages that are read on the disk, with their flags."
  (sort (cl-loop for file in (mailsync-gnus-test--files "folder000")
                 when (string-match
                       "\\.\\([a-z]+\\)\\(,[^:]*\\)?:2,\\([A-Z]*S.*\\)\\'" file)
                 collect (concat (match-string 1 file) " "
                                 (match-string 3 file)))
        #'string<))

(ert-deftest mailsync-summary-test-flags-elsewhere ()
  "What another program does to flags survives the end of an open Summary."
  (dolist (option '(nil insert))
    (dolist (backend '(nnmaildir nnimap))
      (mailsync-summary-test--call
       backend
       (lambda (group)
         (setq mailsync-gnus-update-summary option)
         (cl-flet ((flag (subject flags)
                     (let ((file (cl-find-if
                                  (lambda (file)
                                    (string-match-p (format "\\.%s\\>" subject)
                                                    file))
                                  (mailsync-gnus-test--files "folder000"))))
                       (rename-file
                        file
                        (expand-file-name
                         (format "../cur/%s:2,%s"
                                 (car (split-string (file-name-nondirectory file)
                                                    ":"))
                                 flags)
                         (file-name-directory file))))))
           ;; The user reads one, and marks it as unread again.
           (mailsync-summary-test--goto "c")
           (gnus-summary-mark-article nil gnus-read-mark)
           (gnus-summary-mark-article nil gnus-unread-mark)
           (flag "d" "S")
           (flag "e" "FS")
           (mailsync-summary-test--look group 'flags)
           (gnus-summary-exit)
           (mailsync-summary-test--look group 'unknown)
           (should (equal (list (fixture-unread group)
                                (mailsync-summary-test--seen))
                          '(4 ("d S" "e FS"))))))))))

(ert-deftest mailsync-summary-test-meanwhile ()
  "What others do to messages that came meanwhile survives the end of a Summary."
  (pcase-dolist (`(,what ,unread ,seen)
                 '((read 6 ("new S")) (ticked 6 ("new FS")) (gone 6 nil)
                   (nothing 7 nil)))
    (dolist (backend '(nnmaildir nnimap))
      (ert-info ((format "%s, %s" what backend))
        (mailsync-summary-test--call
         backend
         (lambda (group)
           (setq mailsync-gnus-update-summary nil)
           (mailsync-summary-test--arrive group "new")
           (let* ((file (cl-find-if (lambda (file)
                                      (string-match-p "\\.new\\>" file))
                                    (mailsync-gnus-test--files "folder000")))
                  (name (car (split-string (file-name-nondirectory file) ":")))
                  (cur (expand-file-name (concat "../cur/" name)
                                         (file-name-directory file))))
             (pcase what
               ('read (rename-file file (concat cur ":2,S")))
               ('ticked (rename-file file (concat cur ":2,FS")))
               ('gone (delete-file file))))
           (mailsync-summary-test--look group 'unknown)
           (gnus-summary-exit)
           (mailsync-summary-test--look group 'unknown)
           (should (equal (list (fixture-unread group)
                                (mailsync-summary-test--seen))
                          (list unread seen)))))))))

(ert-deftest mailsync-summary-test-edited ()
  "While an article is being edited nothing is inserted."
  (mailsync-summary-test--each
   (mailsync-summary-test--goto "b")
   (gnus-summary-select-article)
   (with-current-buffer gnus-article-buffer
     (setq major-mode 'gnus-article-edit-mode))
   (let ((before (mailsync-summary-test--lines)))
     (mailsync-summary-test--arrive group "new")
     (should (equal before (mailsync-summary-test--lines)))
     (should (equal (mailsync-gnus--summary-mode-line) " [1 new article]"))
     (with-current-buffer gnus-article-buffer
       (setq major-mode 'gnus-article-mode))
     (mailsync-summary-test--arrive group "last")
     (should (equal (append before '(" new" " last"))
                    (mailsync-summary-test--lines)))
     (should (equal (mailsync-gnus--summary-mode-line) "")))))

(ert-deftest mailsync-summary-test-closed-meanwhile ()
  "The Summary is left, or Gnus, while the server is being asked."
  (dolist (leave (list #'gnus-summary-exit
                       (lambda ()
                         (gnus-summary-exit)
                         (with-current-buffer gnus-group-buffer
                           (gnus-group-exit)))
                       #'mailsync-gnus-teardown))
    (mailsync-summary-test--call
     'nnimap
     (lambda (group)
       (let ((left nil)
             (summary (current-buffer)))
         (advice-add 'mailsync-gnus--summary-watch :after
                     (lambda (&rest _)
                       (run-at-time 0 nil
                                    (lambda ()
                                      (with-current-buffer summary
                                        (funcall leave))
                                      (setq left t))))
                     '((name . leave)))
         (unwind-protect
             (progn
               (mailsync-summary-test--put group "new")
               (mailsync-gnus-test--check
                (mailsync-gnus-test--change "folder000" 'new))
               (mailsync-gnus-test--wait left)
               (mailsync-gnus-test--wait
                (and (null mailsync-gnus--summaries)
                     (null mailsync-gnus--summary-asked)
                     (null mailsync-gnus--summary-timer))))
           (advice-remove 'mailsync-gnus--summary-watch 'leave))
         (should-not (cl-find-if (lambda (line) (string-match-p "error" line))
                                 mailsync-gnus-test--log))
         (when (and (gnus-alive-p) mailsync-gnus--set-up)
           (mailsync-summary-test--put group "later")
           (mailsync-gnus-test--check
            (mailsync-gnus-test--change "folder000" 'new))
           (should (= 8 (fixture-unread group)))))))))

(ert-deftest mailsync-summary-test-user ()
  "A random user reads while mail is inserted: counts and flags stay right."
  (pcase-dolist (`(,backend ,rounds) '((nnmaildir 100) (nnimap 40)))
    (let ((mailsync-gnus-update-summary 'insert)
          (inserted 0))
      (advice-add 'mailsync-gnus--summary-note :before
                  (lambda (&rest _) (cl-incf inserted)) '((name . user)))
      (unwind-protect
          (mailsync-gnus-test--user backend rounds)
        (advice-remove 'mailsync-gnus--summary-note 'user))
      (should (> inserted 5)))))

(provide 'mailsync-summary-test)
;;; mailsync-summary-test.el ends here
