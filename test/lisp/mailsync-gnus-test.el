;;; mailsync-gnus-test.el --- Tests of what is left alone, comes, goes, and is bounded  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A real Gnus on a generated Maildir tree, over nnmaildir and over
;; nnimap to a private Dovecot on a free port.  Nothing sleeps for a
;; fixed time: `mailsync-gnus-test--wait' looks for a condition, up to
;; a deadline.

;;; Code:

(require 'mailsync-gnus-test-helper)

;;;; Left alone

(ert-deftest mailsync-gnus-test-left-alone ()
  "What Gnus does not want to be looked at is left alone, and named."
  (mailsync-gnus-test--with '(nnmaildir nnimap) '("folder000" "folder001")
    (let* ((maildir (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (imap (mailsync-gnus-test--group 'nnimap "folder000"))
           (method (gnus-find-method-for-group imap))
           (server (assoc method gnus-opened-servers))
           (info (gnus-get-info maildir)))
      (cl-flet ((expect (reason group result)
                  (clrhash mailsync-gnus--left-alone)
                  (mailsync-gnus-test--deliver "folder000")
                  (should (equal (car (mailsync-gnus-test--check
                                       (mailsync-gnus-test--change
                                        "folder000" 'unknown)))
                                 `(("folder000" . ,result))))
                  (should (equal (cdr (assoc group (plist-get (mailsync-gnus-status)
                                                              :left-alone)))
                                 reason))))
        (expect nil imap 'checked)
        (let ((before (fixture-unread imap)))
          (setcar (cdr server) 'denied)
          (expect "server denied" imap 'checked)
          (setcar (cdr server) 'closed)
          (expect "server closed" imap 'checked)
          (setq gnus-opened-servers (delq server gnus-opened-servers))
          (expect "server never opened" imap 'checked)
          (should (= (fixture-unread imap) before))
          (should-not (eq (gnus-server-status method) 'ok))
          (setcar (cdr server) 'ok)
          (push server gnus-opened-servers)
          (expect nil imap 'checked)
          (should (= (fixture-unread imap) (+ 4 before))))
        (setf (gnus-info-rank info) 7)
        (expect "level too high" maildir 'checked)
        (setf (gnus-info-rank info) 3)
        (let ((active (gnus-active maildir)))
          (remhash maildir gnus-active-hashtb)
          (expect "never activated" maildir 'checked)
          (should-not (gnus-active maildir))
          (puthash maildir active gnus-active-hashtb))
        (expect nil maildir 'checked)
        ;; Now none is left.
        (setcar (cdr server) 'denied)
        (gnus-group-change-level (gnus-group-entry maildir) 9 3)
        (expect "killed" maildir 'no-group)))))

(ert-deftest mailsync-gnus-test-left-alone-is-bounded ()
  (let ((mailsync-gnus--left-alone (make-hash-table :test #'equal)))
    (dotimes (i (* 3 mailsync-gnus--left-alone-max))
      (mailsync-gnus--leave-alone (format "folder%d" i) "why not"))
    (should (= (hash-table-count mailsync-gnus--left-alone)
               mailsync-gnus--left-alone-max))
    (should (gethash (format "folder%d" (1- (* 3 mailsync-gnus--left-alone-max)))
                     mailsync-gnus--left-alone))))

(ert-deftest mailsync-gnus-test-erring-group ()
  "A group that errs is logged, tried at its next change, and stops nobody."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000" "folder001" "INBOX")
    (let ((away (expand-file-name "away" mailsync-gnus-test--dir))
          (directory (mailsync-gnus-test--directory "folder000"))
          (group (mailsync-gnus-test--group 'nnmaildir "folder000"))
          (change (mailsync-gnus-test--change "folder000" 'new)))
      (mailsync-gnus-test--check (mailsync-gnus-test--change "INBOX" 'flags))
      (rename-file directory away)
      (mailsync-gnus-test--deliver "INBOX")
      (should (equal (car (mailsync-gnus-test--check
                           change
                           (mailsync-gnus-test--change "INBOX" 'new)
                           (mailsync-gnus-test--change "folder001" 'new)))
                     '(("folder000" . failed) ("INBOX" . checked)
                       ("folder001" . checked))))
      (should (equal (car (plist-get (mailsync-gnus-status) :last-error)) group))
      (should (cl-find-if (lambda (line)
                            (string-match-p (concat "\\`error: " (regexp-quote group))
                                            line))
                          mailsync-gnus-test--log))
      (rename-file away directory)
      (let ((before (fixture-unread group)))
        (mailsync-gnus-test--deliver "folder000")
        (should (equal (car (mailsync-gnus-test--check change))
                       '(("folder000" . checked))))
        (should (= (fixture-unread group) (1+ before)))))))

(ert-deftest mailsync-gnus-test-signalling-group ()
  "An error out of Gnus is an error of that group only."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000" "folder001")
    (let ((bad (mailsync-gnus-test--group 'nnmaildir "folder000"))
          (original (symbol-function 'gnus-activate-group)))
      (cl-letf (((symbol-function 'gnus-activate-group)
                 (lambda (group &rest args)
                   (if (equal group bad)
                       (error "Oh 100%%s")
                     (apply original group args)))))
        (should (equal (car (mailsync-gnus-test--check
                             (mailsync-gnus-test--change "folder000" 'new)
                             (mailsync-gnus-test--change "folder001" 'new)))
                       '(("folder000" . failed) ("folder001" . checked)))))
      (should (equal (plist-get (mailsync-gnus-status) :last-error)
                     (cons bad "Oh 100%s"))))))

(ert-deftest mailsync-gnus-test-own-error ()
  "An error of our own is logged and leaves nobody waiting."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (dolist (function '(mailsync-gnus--item-known-groups
                        mailsync-gnus--check-for mailsync-gnus--next-unit))
      (setq mailsync-gnus-test--log nil)
      (cl-letf (((symbol-function function) (lambda (&rest _) (error "Oh"))))
        (should (equal (car (mailsync-gnus-test--check
                             (mailsync-gnus-test--change "folder000" 'new)))
                       '(("folder000" . failed))))
        (should (string-match-p "Oh" (car mailsync-gnus-test--log))))
      (should (= 0 (plist-get (mailsync-gnus-status) :pending)))
      (should (equal (car (mailsync-gnus-test--check
                           (mailsync-gnus-test--change "folder000" 'new)))
                     '(("folder000" . checked)))))))

(ert-deftest mailsync-gnus-test-missing-mailbox ()
  "A mailbox that is gone on the IMAP server fails; the others are checked."
  (mailsync-gnus-test--with '(nnimap) '("folder000" "folder001")
    (delete-directory (mailsync-gnus-test--directory "folder000") t)
    (let ((group (mailsync-gnus-test--group 'nnimap "folder001")))
      (mailsync-gnus-test--deliver "folder001")
      (let ((before (fixture-unread group)))
        (should (equal (car (mailsync-gnus-test--check
                             (mailsync-gnus-test--change "folder000" 'gone)
                             (mailsync-gnus-test--change "folder001" 'new)))
                       '(("folder000" . failed) ("folder001" . checked))))
        (should (= (fixture-unread group) (1+ before)))))))

(ert-deftest mailsync-gnus-test-deleted-folder ()
  "A folder that was deleted is not asked for."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (delete-directory (mailsync-gnus-test--directory "folder000") t)
    (should (equal (car (mailsync-gnus-test--check
                         (mailsync-gnus-test--change "folder000"
                                                     'gone 'folder-deleted)))
                   '(("folder000" . no-group))))
    (should-not (plist-get (mailsync-gnus-status) :last-error))))

;;;; Gnus comes and goes

(ert-deftest mailsync-gnus-test-not-running ()
  "While Gnus is off changes are kept, and checked when it starts."
  (mailsync-gnus-test--with '(nnmaildir nnimap) '("folder000" "INBOX")
    (let ((group (mailsync-gnus-test--group 'nnimap "folder000")))
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'new))
      (should (get-buffer mailsync-gnus--imap-buffer-name))
      (with-current-buffer gnus-group-buffer (gnus-group-exit))
      (should-not (mailsync-gnus-ready-p))
      (should-not (get-buffer mailsync-gnus--imap-buffer-name))
      (should-not (cl-find-if (lambda (process)
                                (string-match-p "nnimap" (process-name process)))
                              (process-list)))
      (mailsync-gnus-test--deliver "folder000")
      (let ((box (mailsync-gnus-test--send
                  (mailsync-gnus-test--change "folder000" 'new)
                  (mailsync-gnus-test--change "nowhere" 'new))))
        ;; At once.
        (should (equal box '(1 (("nowhere" . not-running)
                                ("folder000" . not-running))
                               nil)))
        (should (= 2 (plist-get (mailsync-gnus-status) :pending)))
        (should-not mailsync-gnus--timer)
        (should-not mailsync-gnus--idle-timer)
        (fixture-start group)
        ;; What its start missed:
        (mailsync-gnus-test--deliver "folder000")
        (let ((before (fixture-unread group)))
          (mailsync-gnus-test--wait
           (= 0 (plist-get (mailsync-gnus-status) :pending)))
          (should (= (fixture-unread group) (1+ before))))
        (should (equal (car box) 1))
        (should (equal (sort mailsync-gnus-test--late
                             (lambda (a b) (string< (car a) (car b))))
                       '(("folder000" checked) ("nowhere" no-group))))))))

(ert-deftest mailsync-gnus-test-quit-meanwhile ()
  "Whoever waits is told when Gnus quits, and the folder is kept."
  (mailsync-gnus-test--with '(nnmaildir nnimap) '("folder000")
    (let ((box (let ((gnus-inhibit-demon t))
                 (prog1 (mailsync-gnus-test--send
                         (mailsync-gnus-test--change "folder000" 'new))
                   (accept-process-output nil 0.05)))))
      (should-not (car box))
      (with-current-buffer gnus-group-buffer (gnus-group-exit))
      (should (equal box '(1 (("folder000" . not-running)) nil)))
      (should (= 1 (plist-get (mailsync-gnus-status) :pending))))))

(ert-deftest mailsync-gnus-test-half-started ()
  "Gnus is not ready before it has started, nor when it is suspended."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (should (mailsync-gnus-ready-p))
    (let ((gnus-newsrc-hashtb nil))
      (should-not (mailsync-gnus-ready-p))
      (should (equal (mailsync-gnus-test--send
                      (mailsync-gnus-test--change "folder000" 'new))
                     '(1 (("folder000" . not-running)) nil))))
    (mailsync-gnus--started)
    (mailsync-gnus-test--wait (= 0 (plist-get (mailsync-gnus-status) :pending)))
    (with-current-buffer gnus-group-buffer (gnus-group-suspend))
    (should (gnus-alive-p))
    (should-not (mailsync-gnus-ready-p))
    (should (equal (mailsync-gnus-test--send
                    (mailsync-gnus-test--change "folder000" 'new))
                   '(1 (("folder000" . not-running)) nil)))))

(ert-deftest mailsync-gnus-test-teardown ()
  "Nothing survives a teardown, and both ways are idempotent."
  (mailsync-gnus-test--with '(nnmaildir nnimap) '("folder000")
    (mailsync-gnus-teardown)
    (let ((hooks '(gnus-group-mode-hook gnus-started-hook
                   gnus-after-exiting-gnus-hook)))
      (cl-flet ((state ()
                  (list (length (process-list))
                        (cl-count-if (lambda (buffer)
                                       (string-match-p "mailsync\\|nnimap"
                                                       (buffer-name buffer)))
                                     (buffer-list))
                        (cl-count-if (lambda (timer)
                                       (string-prefix-p
                                        "mailsync"
                                        (format "%s" (timer--function timer))))
                                     (append timer-list timer-idle-list))
                        (mapcar #'symbol-value hooks)
                        (buffer-local-value 'mode-line-process
                                            (get-buffer gnus-group-buffer)))))
        (let ((before (state))
              box)
          (dotimes (_ 3)
            (mailsync-gnus-setup)
            (mailsync-gnus-setup)
            (should (equal (buffer-local-value 'mode-line-process
                                               (get-buffer gnus-group-buffer))
                           '("" mailsync-mode-line)))
            (mailsync-gnus-test--check
             (mailsync-gnus-test--change "folder000" 'new))
            (let ((gnus-inhibit-demon t))
              (setq box (mailsync-gnus-test--send
                         (mailsync-gnus-test--change "folder000" 'new)))
              (should-not (equal (state) before))
              (mailsync-gnus-teardown))
            (should (equal box '(1 (("folder000" . not-running)) nil)))
            (mailsync-gnus-teardown)
            (mailsync-gnus-test--wait (equal (state) before))
            (should (= 0 (plist-get (mailsync-gnus-status) :pending)))))))))

;;;; Bounded

;; Security: S26.
(ert-deftest mailsync-gnus-test-bounded ()
  "However many changes wait, each caller is told once."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000" "folder001")
    (let ((answers (make-hash-table))
          (count 1000))
      (let ((gnus-inhibit-demon t))
        (dotimes (i count)
          (mailsync-gnus-check-changes
           "home" (list (mailsync-gnus-test--change "folder000" 'new)
                        (mailsync-gnus-test--change
                         (if (cl-oddp i) "folder001" "nowhere") 'flags))
           (lambda (results _news) (push results (gethash i answers)))))
        (should (= 3 (plist-get (mailsync-gnus-status) :pending)))
        (maphash (lambda (_ item)
                   (should (<= (length (mailsync-gnus--item-calls item))
                               mailsync-gnus--calls-max))
                   (should (<= (length (plist-get (mailsync-gnus--item-change item)
                                                  :kinds))
                               2)))
                 mailsync-gnus--pending)
        (should (< (hash-table-count answers) count)))
      (mailsync-gnus-test--wait (= (hash-table-count answers) count))
      (mailsync-gnus-test--wait (= 0 (plist-get (mailsync-gnus-status) :pending)))
      (maphash (lambda (_ value)
                 (should (= 1 (length value)))
                 (should (= 2 (length (car value)))))
               answers))))

(ert-deftest mailsync-gnus-test-no-change-is-lost ()
  "What happens during a check is checked after it."
  (mailsync-gnus-test--with '(nnimap) '("folder000")
    (let* ((group (mailsync-gnus-test--group 'nnimap "folder000"))
           (before (fixture-unread group))
           (second nil)
           (first nil))
      (mailsync-gnus-test--when-asked
       (lambda ()
         (mailsync-gnus-test--deliver "folder000")
         (setq second (mailsync-gnus-test--send
                       (mailsync-gnus-test--change "folder000" 'new)))))
      (setq first (mailsync-gnus-test--send
                   (mailsync-gnus-test--change "folder000" 'new)))
      (mailsync-gnus-test--wait second)
      (mailsync-gnus-test--wait (and (car first) (car second)))
      (should (= (fixture-unread group) (1+ before)))
      (should (= 2 (plist-get mailsync-gnus--counts :groups)))
      (should (equal (mapcar #'car (list first second)) '(1 1))))))

;; What a random reader found (mailsync-random-reader-test.el), one row each.

(ert-deftest mailsync-gnus-test-claimed-while-asked ()
  "A folder that claims a group while another waits for its answer is checked."
  (mailsync-gnus-test--with '(nnimap) '("folder000")
    (let* ((group (mailsync-gnus-test--group 'nnimap "folder000"))
           (mailsync-gnus-test--accounts '(("home") ("other")))
           (before (fixture-unread group))
           (second nil)
           (first nil))
      (mailsync-gnus-test--when-asked
       (lambda ()
         (mailsync-gnus-test--deliver "folder000")
         (setq second (mailsync-gnus-test--send
                       (plist-put (mailsync-gnus-test--change "folder000" 'new)
                                  :account "other")))
         ;; Claimed before the answer is taken.
         (run-at-time 0 nil #'mailsync-gnus--map-items)))
      (setq first (mailsync-gnus-test--send
                   (mailsync-gnus-test--change "folder000" 'new)))
      (mailsync-gnus-test--wait second)
      (mailsync-gnus-test--wait (and (car first) (car second)))
      (should (= 0 (plist-get (mailsync-gnus-status) :pending)))
      (should (= (fixture-unread group) (1+ before))))))

(ert-deftest mailsync-gnus-test-claimed-and-checked-now ()
  "A check of the user's does not settle what is claimed; that is checked, too."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let ((box (mailsync-gnus-test--send
                (mailsync-gnus-test--change "folder000" 'new))))
      (mailsync-gnus--resolve)
      (mailsync-gnus-test--wait (not (eq 'wait (mailsync-gnus--index-current-p))))
      (mailsync-gnus--map-items)
      (mailsync-gnus-check (mailsync-gnus-test--group 'nnmaildir "folder000"))
      (mailsync-gnus-test--wait (car box))
      (should (equal (nth 1 box) '(("folder000" . checked)))))))

(ert-deftest mailsync-gnus-test-unseen-elsewhere ()
  "A message marked as unread elsewhere is unread, whatever else is asked.
In a row of three: Gnus itself asks about the group before mailsync
does, and another group is asked for from its beginning."
  (pcase-dolist (`(,gnus ,other) '((nil nil) (t nil) (nil t)))
    (mailsync-gnus-test--with '(nnimap) '("folder000" "folder001")
      (let* ((group (mailsync-gnus-test--group 'nnimap "folder000"))
             (unread (lambda ()
                       (list (fixture-unread group)
                             (gnus-list-of-unread-articles group))))
             (before (funcall unread))
             (check (lambda ()
                      (mailsync-gnus-test--check
                       (mailsync-gnus-test--change "folder000" 'flags)
                       (mailsync-gnus-test--change "folder001" 'flags))))
             (seen (cl-find-if (lambda (file) (string-match-p ":2,S\\'" file))
                               (mailsync-gnus-test--files "folder000"))))
        (funcall check)
        (should (equal before (funcall unread)))
        (when other
          ;; As that of a folder that has just been subscribed to.
          (let ((info (mailsync-gnus--info
                       (mailsync-gnus-test--group 'nnimap "folder001"))))
            (setf (nth 5 info) (assq-delete-all 'modseq (nth 5 info)))
            (remhash (car info) mailsync-gnus--flags-read)
            (mailsync-gnus-test--check
             (mailsync-gnus-test--change "folder001" 'flags)
             (mailsync-gnus-test--change "folder000" 'flags))
            (should (equal before (funcall unread)))))
        (rename-file seen (substring seen 0 -1))
        (when gnus
          (gnus-group-get-new-news))
        (funcall check)
        (should (= (1+ (car before)) (fixture-unread group)))))))

(ert-deftest mailsync-gnus-test-read-meanwhile ()
  "What the user reads while an answer is on its way is asked for once more.
It may have been marked as unread elsewhere after that."
  (mailsync-gnus-test--with '(nnimap) '("folder000")
    (let* ((group (mailsync-gnus-test--group 'nnimap "folder000"))
           (info (mailsync-gnus--info group))
           (check (lambda ()
                    (mailsync-gnus-test--check
                     (mailsync-gnus-test--change "folder000" 'flags)))))
      (funcall check)
      (let* ((before (gnus-list-of-unread-articles group))
             (number (car before))
             (unread (cl-find-if-not
                      (lambda (file) (string-match-p ":2,[A-Z]*[SF]" file))
                      (mailsync-gnus-test--files "folder000")))
             (times 0))
        (advice-add 'mailsync-gnus--answered-flags :filter-return
                    (lambda (flags)
                      (cl-incf times)
                      (when (= times 1)
                        ;; As by a Summary that was left; elsewhere it is marked as
                        ;; unread again.
                        (mailsync-gnus--add-read info (list number))
                        (setf (alist-get number
                                         (alist-get "folder000" flags nil nil
                                                    #'equal))
                              nil))
                      flags)
                    '((name . meanwhile)))
        (unwind-protect
            (progn
              (should unread)
              ;; So that the server has something to say.
              (rename-file unread (expand-file-name
                                   (concat "../cur/"
                                           (car (split-string
                                                 (file-name-nondirectory unread)
                                                 ":"))
                                           ":2,R")
                                   (file-name-directory unread)))
              (funcall check)
              (mailsync-gnus-test--wait
               (and (= times 2)
                    (zerop (plist-get (mailsync-gnus-status) :pending)))))
          (advice-remove 'mailsync-gnus--answered-flags 'meanwhile))
        (should-not (gethash group mailsync-gnus--flags-open))
        (should (equal before (gnus-list-of-unread-articles group)))))))

(ert-deftest mailsync-gnus-test-no-change-is-lost-at-once ()
  "The same where the check waits, as Gnus's command does."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let* ((group (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (before (fixture-unread group))
           (boxes nil))
      (advice-add 'mailsync-gnus--check-group :filter-return
                  (lambda (report)
                    (advice-remove 'mailsync-gnus--check-group 'meanwhile)
                    (mailsync-gnus-test--deliver "folder000")
                    (push (mailsync-gnus-test--send
                           (mailsync-gnus-test--change "folder000" 'new))
                          boxes)
                    report)
                  '((name . meanwhile)))
      (push (mailsync-gnus-test--send
             (mailsync-gnus-test--change "folder000" 'new))
            boxes)
      (mailsync-gnus-test--wait (and (cdr boxes) (cl-every #'car boxes)))
      (should (= (fixture-unread group) (1+ before))))))

(ert-deftest mailsync-gnus-test-names-late ()
  "A file system that does not answer holds up nobody else."
  (mailsync-gnus-test--with '(nnmaildir nnimap) '("folder000" "folder001")
    (mailsync-gnus-test--wait (mailsync-gnus--index-current-p))
    (let* ((answer nil)
           (mailsync-gnus-test--resolve (lambda (function) (setq answer function)))
           (mailsync-gnus--resolve-timeout 0.2)
           (imap (mailsync-gnus-test--group 'nnimap "folder000"))
           (maildir (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (before (fixture-unread imap)))
      (should (= before (fixture-unread maildir)))
      (mailsync-gnus--forget-index)
      (mailsync-gnus-test--deliver "folder000")
      (should (equal (car (mailsync-gnus-test--check
                           (mailsync-gnus-test--change "folder000" 'new)
                           (mailsync-gnus-test--change "nowhere" 'new)))
                     '(("folder000" . checked) ("nowhere" . no-group))))
      (should (equal (list (fixture-unread imap) (fixture-unread maildir))
                     (list (1+ before) before)))
      (should (= 2 (plist-get (mailsync-gnus-status) :pending)))
      ;; And nothing polls meanwhile.
      (mailsync-gnus-test--wait (null mailsync-gnus--timer))
      (should-not mailsync-gnus--idle-timer)
      (should-not mailsync-gnus-test--late)
      (funcall answer)
      (mailsync-gnus-test--wait (= (fixture-unread maildir) (1+ before)))
      (mailsync-gnus-test--wait
       (member '("folder000" checked) mailsync-gnus-test--late)))))

(provide 'mailsync-gnus-test)
;;; mailsync-gnus-test.el ends here
