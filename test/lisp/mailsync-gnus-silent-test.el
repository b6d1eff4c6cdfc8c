;;; mailsync-gnus-silent-test.el --- Tests of servers that say nothing  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; An nnimap server that does not answer, or is gone, between Gnus and Dovecot.

;;; Code:

(require 'mailsync-gnus-test-helper)

;;;; A server that says nothing

(defmacro mailsync-gnus-test--with-proxy (&rest body)
  "Evaluate BODY with a Gnus whose nnimap server is behind a proxy.
In BODY, (stall FLAG) makes the proxy fall silent, or talk again."
  (declare (indent 0))
  `(mailsync-gnus-test--with '(nnimap) '("folder000" "folder001")
     (let* ((port (mailsync-gnus-test--free-port))
            (file (expand-file-name "stall" mailsync-gnus-test--dir))
            (ready nil)
            (proxy (make-process
                    :name "proxy" :noquery t :connection-type 'pipe
                    :command (list (mailsync-gnus-test--fixture "stall-proxy.py")
                                   (number-to-string port)
                                   (number-to-string mailsync-gnus-test--imap-port)
                                   file)
                    :filter (lambda (_ text)
                              (when (string-match-p "ready" text)
                                (setq ready t))))))
       (unwind-protect
           (progn
             (mailsync-gnus-test--wait ready)
             (with-current-buffer gnus-group-buffer (gnus-group-exit))
             (setq mailsync-gnus-test--name
                   (concat mailsync-gnus-test--name "proxy")
                   mailsync-gnus-test--accounts
                   `(("home" :gnus-server ,mailsync-gnus-test--name)))
             (fixture-configure (expand-file-name "home" mailsync-gnus-test--dir)
                                mailsync-gnus-test--name nil port)
             (fixture-start (mailsync-gnus-test--group 'nnimap "folder000")
                            (mailsync-gnus-test--group 'nnimap "folder001"))
             (cl-flet ((stall (flag)
                         (if flag (write-region "" nil file nil 'silent)
                           (delete-file file))))
               ,@body))
         (delete-process proxy)))))

(defun mailsync-gnus-test--our-buffers ()
  "The buffers of connections that nnimap has opened, or tried to, for us."
  (cl-remove-if-not
   (lambda (buffer)
     (string-match-p "nnimap .*mailsync nntp" (buffer-name buffer)))
   (buffer-list)))

(ert-deftest mailsync-gnus-test-silent-server ()
  "A server that falls silent blocks nobody, and nothing is lost."
  (mailsync-gnus-test--with-proxy
    (let* ((mailsync-gnus-imap-timeout 0.5)
           (group (mailsync-gnus-test--group 'nnimap "folder000"))
           (before (fixture-unread group))
           (brought nil)
           (mailsync-new-mail-functions
            (list (lambda (&rest args) (push args brought))))
           (longest 0)
           box last)
      (should (equal (car (mailsync-gnus-test--check
                           (mailsync-gnus-test--change "folder000" 'new)))
                     '(("folder000" . checked))))
      (stall t)
      (mailsync-gnus-test--deliver "folder000")
      (setq last (float-time)
            box (mailsync-gnus-test--send
                 (mailsync-gnus-test--change "folder000" 'new)))
      (mailsync-gnus-test--wait
       (let ((now (float-time)))
         (setq longest (max longest (- now last))
               last now)
         (car box)))
      (should (< longest 0.3))
      (should (equal (cdr box) '((("folder000" . failed)) nil)))
      (should (equal (plist-get (mailsync-gnus-status) :silent)
                     (list (concat "nnimap:" mailsync-gnus-test--name))))
      ;; Gnus's own connection and its state are as they were.
      (should (eq 'ok (gnus-server-status (gnus-find-method-for-group group))))
      ;; Known to be silent: the next one is answered at once.
      (let ((again (mailsync-gnus-test--send
                    (mailsync-gnus-test--change "folder000" 'new))))
        (mailsync-gnus-test--wait (car again) 0.4)
        (should (equal (cadr again) '(("folder000" . failed)))))
      (should (= 1 (plist-get (mailsync-gnus-status) :pending)))
      (stall nil)
      (mailsync-gnus-test--wait (= (fixture-unread group) (1+ before)))
      (mailsync-gnus-test--wait brought)
      (should (equal (mapcar (lambda (args)
                               (plist-get (car (nth 1 args)) :groups))
                             brought)
                     `(((,group ,before ,(1+ before))))))
      (should-not (plist-get (mailsync-gnus-status) :silent))
      (should (= 0 (plist-get (mailsync-gnus-status) :pending))))))

(ert-deftest mailsync-gnus-test-silent-when-opening ()
  "Opening our connection to a silent server is cut short, and leaves nothing."
  (mailsync-gnus-test--with-proxy
    (let ((mailsync-gnus-imap-open-timeout 0.3)
          (processes (process-list))
          (started (float-time)))
      (stall t)
      (should (equal (car (mailsync-gnus-test--check
                           (mailsync-gnus-test--change "folder000" 'new)))
                     '(("folder000" . failed))))
      (should (< (- (float-time) started) 1.5))
      (should-not (cl-set-difference (process-list) processes))
      (should-not (mailsync-gnus-test--our-buffers))
      (should (= 1 (plist-get (mailsync-gnus-status) :pending))))))

(ert-deftest mailsync-gnus-test-connections-forgotten ()
  "However often our connection was closed, nnimap knows of none that is gone."
  (mailsync-gnus-test--with '(nnimap) '("folder000")
    (dotimes (_ 3)
      (should (equal (car (mailsync-gnus-test--check
                           (mailsync-gnus-test--change "folder000" 'new)))
                     '(("folder000" . checked))))
      (should nnimap-connection-alist)
      (should (cl-every (lambda (entry) (cl-every #'buffer-live-p entry))
                        nnimap-connection-alist))
      (mailsync-gnus--imap-close-all)
      (should (cl-every (lambda (entry) (cl-every #'buffer-live-p entry))
                        nnimap-connection-alist)))))

(ert-deftest mailsync-gnus-test-connection-dies ()
  "A connection that is closed between two checks is opened anew."
  (mailsync-gnus-test--with '(nnimap) '("folder000")
    (let ((group (mailsync-gnus-test--group 'nnimap "folder000"))
          (before nil))
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'new))
      (setq before (fixture-unread group))
      (delete-process
       (mailsync-gnus--imap-process
        (cdar mailsync-gnus--imap-servers-asked)))
      (mailsync-gnus-test--deliver "folder000")
      (should (equal (car (mailsync-gnus-test--check
                           (mailsync-gnus-test--change "folder000" 'new)))
                     '(("folder000" . checked))))
      (should (= (fixture-unread group) (1+ before)))
      ;; Nothing is left of the one before.
      (should (= 1 (length (mailsync-gnus-test--our-buffers)))))))

(provide 'mailsync-gnus-silent-test)
;;; mailsync-gnus-silent-test.el ends here
